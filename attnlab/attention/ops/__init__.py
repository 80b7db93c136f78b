"""What several attentions share: kernels, scans, sparsity patterns, modifiers. Nothing here is registered."""

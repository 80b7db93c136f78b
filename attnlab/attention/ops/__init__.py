"""Operations shared by several attentions: kernels, scans, sparsity patterns, modifiers. None is registered."""

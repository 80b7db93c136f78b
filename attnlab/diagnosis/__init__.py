"""What a model shows of its inside: subjects, measuring, the gain-matched control, alignment with an SVM."""

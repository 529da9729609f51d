"""The pocket model: a small vision-language model, its synthetic data, training and evaluation."""

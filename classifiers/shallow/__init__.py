"""Heads that are classic machines on pooled patches: scikit-learn and XGBoost, searched inside the training rows."""

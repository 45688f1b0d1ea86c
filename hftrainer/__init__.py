"""hftrainer: human motion and language, a model zoo with one house around it."""

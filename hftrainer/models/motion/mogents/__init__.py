"""MoGenTS: residual tokens of the whole body and of its joints, made by masked transformers."""

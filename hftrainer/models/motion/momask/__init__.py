"""MoMask: residual motion tokens, filled in from a mask; what it shares with MoGenTS stands there."""

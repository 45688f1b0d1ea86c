"""MDM: a diffusion model of motion, and DiP, its autoregressive kind."""

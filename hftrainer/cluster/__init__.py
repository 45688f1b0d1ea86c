"""Much work in small pieces, on one machine or many: each piece done once, whoever dies on the way."""

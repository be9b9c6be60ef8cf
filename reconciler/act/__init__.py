"""Effects out: carries out Actions. It decides nothing."""

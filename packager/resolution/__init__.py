"""From wishes to versions: what a repository asks for, how contradictions are settled, and the account of it."""

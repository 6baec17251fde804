NODE_CLASS_MAPPINGS = {"Good": object}

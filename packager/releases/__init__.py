"""Release day: which bundles a release has, what changed since the last one, and the papers that go with them."""

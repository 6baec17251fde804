"""All that a build fetches, in one folder, for a build without a network; and what is missing for one."""

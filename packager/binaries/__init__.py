"""What programs and libraries say of themselves, and which libraries every machine has."""

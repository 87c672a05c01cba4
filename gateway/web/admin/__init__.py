"""The admin API: JSON on the operators' listener, behind a token."""

"""Who may do what: roles, credentials and certificates."""

"""What can be configured, in BIG-IP's words: kinds, fields, rules and the brace language."""

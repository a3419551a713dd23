"""What should be running: the only package that knows both BIG-IP's words and the RFCs'."""

"""The result page: one HTML file to send to a colleague."""

"""What a transfer has brought, as a file, and a directory held against it."""

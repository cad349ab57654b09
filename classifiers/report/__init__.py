"""What people read: one HTML page of a head or of a comparison, offline, with everything in it."""

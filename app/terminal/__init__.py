"""What a terminal shows: tables, and how far long work is."""

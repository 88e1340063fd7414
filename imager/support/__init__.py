"""What everything else may use: errors, units, files written in one step, progress."""

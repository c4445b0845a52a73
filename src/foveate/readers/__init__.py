"""File formats that several systems read. Wrong files end in an `InputError`."""

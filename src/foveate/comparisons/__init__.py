"""Systems compared on equal terms: experiments that no paper made. Each names its rivals; no system knows of it."""

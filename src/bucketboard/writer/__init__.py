"""Writers: what training code calls. Nothing here raises into training or waits for the network unasked."""

"""Many runs of one config, with one thing or another changed."""

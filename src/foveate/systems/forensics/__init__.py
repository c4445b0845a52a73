"""What a picture or a video tells about its own making."""

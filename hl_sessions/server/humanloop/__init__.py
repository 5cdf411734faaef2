"""What Humanloop's customers have saved, as records of this server."""

"""What goes over the wire of the v4 API: values, requests, answers. Nothing here reads or stores anything."""

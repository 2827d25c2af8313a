"""What operators of the deployment see of it: health, metrics, structured logs, traces."""

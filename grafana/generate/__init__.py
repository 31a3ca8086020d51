"""The Grafana dashboards as code: `python -m grafana.generate` from the root of the repository writes the JSON anew."""

"""Starting, watching, restarting and stopping the programs of a deployment, the database included."""

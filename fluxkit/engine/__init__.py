"""The engine room: the only place for the torch family. Started by `fluxkit.run.launch`, never imported by it."""

"""The live page's files and routes over a real socket."""

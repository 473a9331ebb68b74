"""Tables of models and predictions. Belongs here: their SQL. Not here: what a model is or when one is promoted."""

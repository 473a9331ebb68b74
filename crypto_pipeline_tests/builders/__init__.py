"""What several rooms' tests build with: frames of bars, scripted venues, markets, deployments. Holds no test."""

"""What is around every request: who may call, what is counted and logged, how JSON comes in and goes out."""

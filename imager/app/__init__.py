"""What the program does, one module a use case: steps that call the layers below."""

"""What tools/bench is made of: measuring (measure), the bars (bars), docs/performance.md (document)."""

"""Training performance estimation (TPE, Frey et al. 2023): ranks settings from early training."""

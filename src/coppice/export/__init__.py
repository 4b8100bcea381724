"""Files for devices, with or without the front end inside, each verified when written; latency in their runtimes."""

storage_source "FILE" { path = "/a", redirect_addr = "http://x" }
storage_destination "file" { path = "/b" wait = 5 }
cluster_addr = "https://h:8201" /* raft */

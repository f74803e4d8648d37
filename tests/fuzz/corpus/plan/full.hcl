plan "orders" { state_dir = "/s" seal { key_file = "/k" } }
move "one" {
  mode = "offline" on_conflict = "keep-equal" verify = false
  parallel = 4 memory = "16MiB" marker = "none" # here
  source "file" { path = "/a" password = "${x{}}\n" tls { verify = "off" } }
  destination "file" { path = <<-EOF
    /b
    EOF
    ignored = [{ a = 1 }, [1, 0x2, 07, 1.5e-3],] }
}

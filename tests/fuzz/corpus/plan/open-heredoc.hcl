a = <<EOF
 x

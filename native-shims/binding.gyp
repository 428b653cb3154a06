{
  # One addon, plain C. OpenSSL is the one inside the node binary: its headers come with Node's, its symbols are
  # resolved when the addon is loaded, so no -lcrypto.
  "variables": { "openssl_fips": "" },
  "targets": [
    {
      "target_name": "ovs_espd_native",
      "sources": [
        "src/addon.c",
        "src/address.c",
        "src/aead.c",
        "src/arguments.c",
        "src/batch.c",
        "src/checksum.c",
        "src/datagram.c",
        "src/error.c",
        "src/memory.c",
        "src/netlink.c",
        "src/notify.c",
        "src/pidlock.c",
        "src/poll.c",
        "src/privileges.c",
        "src/raw6.c",
        "src/segments.c",
        "src/sockets.c",
        "src/tap.c",
        "src/watch.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE", "OPENSSL_API_COMPAT=30000"],
      "cflags": [
        "-std=gnu11",
        "-O3",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fvisibility=hidden",
        "-fstack-protector-strong"
      ],
      "cflags!": ["-Wno-unused-parameter"],
      "ldflags": ["-Wl,-z,now", "-Wl,-z,relro"]
    }
  ]
}

use crate::join::rows::Rows;

/// Holds the causes of all queries, as `SENT RESOLVER HOW ROW`, against those expected.
fn causes(text: &str, expected: &[&str]) {
    assert_eq!(Rows::read(text).causes(), expected, "{text}");
}

#[test]
fn a_packet_is_the_call_that_carried_its_payload() {
    // Two sockets, one id: the port decides where the trace shows it.
    causes(
        "1.000 call 3 socket udp
         1.001 call 3 local 10.0.0.1:4000
         1.002 call 3 connect 10.0.1.93:53
         1.003 call 4 socket udp
         1.004 call 4 local 10.0.0.1:4001
         1.005 call 4 connect 10.0.1.93:53
         1.010 call 3 send 7 A a.example
         1.011 call 4 send 7 A a.example
         1.012 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         1.013 packet 10.0.0.1:4001 10.0.1.93:53 query 7 A a.example",
        &["1.012 10.0.1.93:53 call 7", "1.013 10.0.1.93:53 call 8"],
    );
    // glibc sends one id in every round: the latest call before the packet, each call once.
    causes(
        "1.000 call 3 send 7 A a.example 10.0.1.93:53
         1.001 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         6.000 call 3 send 7 A a.example 10.0.1.93:53
         6.001 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example",
        &["1.001 10.0.1.93:53 call 1", "6.001 10.0.1.93:53 call 3"],
    );
    // Another question under the same id is another message.
    causes(
        "1.000 call 3 send 7 A a.example 10.0.1.93:53
         1.001 packet 10.0.0.9:4000 10.0.1.93:53 query 7 A b.example",
        &["1 10.0.1.93:53 call 1", "1.001 10.0.1.93:53 untraced"],
    );
}

#[test]
fn a_call_is_no_packets_that_left_before_it_or_long_after() {
    // Within the tolerance of the clocks (1 ms) the packet may come first.
    causes(
        "1.0000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         1.0005 call 3 send 7 A a.example 10.0.1.93:53",
        &["1 10.0.1.93:53 call 2"],
    );
    causes(
        "1.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         1.100 call 3 send 7 A a.example 10.0.1.93:53",
        &["1 10.0.1.93:53 untraced", "1.1 10.0.1.93:53 call 2"],
    );
    // A neighbour search holds a packet back for three seconds, not for four.
    causes(
        "1.0 call 3 send 7 A a.example 10.0.1.93:53
         4.0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example",
        &["4 10.0.1.93:53 call 1"],
    );
    causes(
        "1.0 call 3 send 7 A a.example 10.0.1.93:53
         5.0 packet 10.0.0.9:4000 10.0.1.93:53 query 7 A a.example",
        &["1 10.0.1.93:53 call 1", "5 10.0.1.93:53 untraced"],
    );
}

#[test]
fn through_nat_the_local_port_must_agree() {
    // docker's stub: the packet goes to another port, from the socket's own.
    let call = "1.000 call 3 socket udp
                1.001 call 3 local 10.0.0.1:4000
                1.002 call 3 connect 127.0.0.11:53
                1.003 call 3 send 7 A a.example\n";
    causes(
        &format!("{call} 1.004 packet 10.0.0.1:4000 127.0.0.11:41000 query 7 A a.example"),
        &["1.004 127.0.0.11:53 call 4"],
    );
    causes(
        &format!("{call} 1.004 packet 10.0.0.1:5000 127.0.0.11:41000 query 7 A a.example"),
        &["1.003 127.0.0.11:53 call 4"],
    );
}

#[test]
fn a_known_port_joins_packets_whose_sends_are_not_visible() {
    // One port in two sockets' turns: the one that was open then.
    causes(
        "1.000 call 3 socket udp
         1.001 call 3 connect 10.0.1.93:53
         1.002 call 3 local 10.0.0.1:4000
         1.003 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         1.100 call 3 close
         2.000 call 3 socket udp
         2.001 call 3 connect 10.0.1.93:53
         2.002 call 3 local 10.0.0.1:4000
         2.003 packet 10.0.0.1:4000 10.0.1.93:53 query 8 A b.example
         2.100 call 3 close
         3.000 packet 10.0.0.1:4000 10.0.1.93:53 query 9 A c.example",
        &[
            "1.003 10.0.1.93:53 socket 2",
            "2.003 10.0.1.93:53 socket 7",
            "3 10.0.1.93:53 untraced",
        ],
    );
    // A socket that is connected elsewhere did not send it.
    causes(
        "1.000 call 3 socket udp
         1.001 call 3 connect 10.0.1.95:53
         1.002 call 3 local 10.0.0.1:4000
         1.003 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example",
        &[
            "1.001 10.0.1.95:53 inferred 2",
            "1.003 10.0.1.93:53 untraced",
        ],
    );
}

#[test]
fn a_connect_alone_takes_the_next_flow_to_its_resolver() {
    // The second round comes from the same socket, without a connect.
    causes(
        "1.000 call 3 connect 10.0.1.93:53
         1.001 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         6.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example",
        &["1.001 10.0.1.93:53 inferred 1", "6 10.0.1.93:53 inferred 1"],
    );
    // Two connects, two flows, in their order; a flow a second later is somebody else's.
    causes(
        "1.000 call 3 connect 10.0.1.93:53
         1.001 call 4 connect 10.0.1.93:53
         1.002 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         1.003 packet 10.0.0.1:4001 10.0.1.93:53 query 8 AAAA a.example
         3.000 packet 10.0.0.1:4002 10.0.1.93:53 query 9 A b.example",
        &[
            "1.002 10.0.1.93:53 inferred 1",
            "1.003 10.0.1.93:53 inferred 2",
            "3 10.0.1.93:53 untraced",
        ],
    );
    // After the close the port is another socket's.
    causes(
        "1.000 call 3 connect 10.0.1.93:53
         1.001 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         1.500 call 3 close
         2.000 packet 10.0.0.1:4000 10.0.1.93:53 query 8 A b.example",
        &["1.001 10.0.1.93:53 inferred 1", "2 10.0.1.93:53 untraced"],
    );
}

#[test]
fn another_hosts_packet_is_no_sockets_although_it_comes_from_its_port() {
    // The socket's own packet shows its address; the next one from that port is another host's.
    let other = |from: &str| {
        format!(
            "1.000 call 3 socket udp
             1.001 call 3 connect 10.0.1.93:53
             1.002 call 3 send 7 A a.example
             1.003 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
             1.300 packet {from}:4000 10.0.1.93:53 query 8 A a.example"
        )
    };
    causes(
        &other("10.0.0.9"),
        &["1.003 10.0.1.93:53 call 3", "1.3 10.0.1.93:53 untraced"],
    );
    causes(
        &other("10.0.0.1"),
        &["1.003 10.0.1.93:53 call 3", "1.3 10.0.1.93:53 socket 2"],
    );
}

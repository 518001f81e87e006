"""What tests, demo and benches use and anybody may: fakes that keep the contracts, private server nodes, a fault proxy."""

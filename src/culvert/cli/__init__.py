"""The culvert command: lab, pcap and other tools that are not tmsh's."""

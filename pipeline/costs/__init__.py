"""What a run will take, before it: hours and money, and the speed of this machine."""

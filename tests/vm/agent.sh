# Runs in the machine: each script of the share that the host names on the virtio port, and answers with its status.
exec 3<>"$(echo /dev/vport*p1)"
while read -r name <&3; do
	sh "/mnt/share/$name" >"/mnt/share/$name.out" 2>&1 </dev/null
	echo "$name $?" >&3
done

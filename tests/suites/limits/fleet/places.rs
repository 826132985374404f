//! Places of a fleet with real connections: all nodes together never have more open than the fleet
//! may, and what was given comes back when connections end, not when shares do.

use std::net::TcpListener;

use lab::wait::{until, until_so};
use limiter::kernel::Pins;
use limiter::kernel::maps::Raw;
use limiter_common::open::WORDS;

use super::world::{Node, Plan, World};
use crate::open::{Pair, dial};

/// Connections of the service that may be open in the fleet, and on a node alone.
const ALL: usize = 40;
const STATED: usize = 5;

impl Node {
    fn listen(&self) -> TcpListener {
        self.lab.front.run(|| Ok(TcpListener::bind(("::", 80))?)).expect("a listener")
    }

    /// Opens connections until `pairs` has so many, or one is refused.
    fn open(&self, listener: &TcpListener, pairs: &mut Vec<Pair>, most: usize) {
        let client = self.lab.clients_v4()[0];
        while pairs.len() < most {
            let Ok(near) = self.lab.crowd.run(|| Ok(dial(client)?)) else { return };
            pairs.push(Pair { near, far: listener.accept().expect("it is accepted").0 });
        }
    }
}

/// `check`, while a change counts the connections of a node anew and has not seen any of them.
fn anew(node: &Node, check: impl FnOnce()) {
    let changing = Pins::at(node.desk.pins().to_owned()).lock_for_change().expect("the lock");
    let mut maps = node.maps().expect("the maps");
    let (id, _) = maps.budgets().expect("budgets")["web"];
    let counted = maps.opens.get(&id, 0).expect("the count");
    maps.opens.set(id, Raw([0; WORDS]), 0).expect("written");
    let ends = until("it has a share", || node.ends());
    until_so("it has reported twice", || node.ends().is_some_and(|now| now > ends + 4.0));
    check();
    maps.opens.set(id, counted, 0).expect("written");
    drop(changing);
}

#[test]
fn places_go_where_they_are_wanted_and_come_back_when_they_are_left() {
    let mut world = World::of(&Plan {
        service: "line = false\nopen_budget = 5\n",
        budgets: "web.open=40",
        ..Plan::of(2)
    });
    let places = |node: &Node| node.places("web.open").unwrap_or(0) as usize;
    until_so("both have places", || world.nodes.iter().all(|node| places(node) > 0));
    let listeners: Vec<_> = world.nodes.iter().map(Node::listen).collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    // The crowd is on the first node: it gets all but what is kept for the other.
    until_so("the first has as many as there are", || {
        world.nodes[0].open(&listeners[0], &mut first, ALL);
        assert!(first.len() <= ALL - STATED, "{}", first.len());
        first.len() == ALL - STATED
    });
    // Then it comes to the second, which has no more than that until connections end on the first.
    until_so("the second has what it states", || {
        world.nodes[1].open(&listeners[1], &mut second, ALL);
        assert!(second.len() <= STATED, "{}", second.len());
        second.len() == STATED
    });
    anew(&world.nodes[0], || {
        world.nodes[1].open(&listeners[1], &mut second, ALL);
        assert_eq!(second.len(), STATED, "places that are taken were given away");
    });
    let status = world.nodes[0].desk.json("fleet status");
    assert_eq!(status["budgets"]["web.open"]["budget"], 40.0, "{status}");
    assert!(world.nodes[0].desk.ok("fleet status").contains("web.open 40: demand "));
    first.truncate(10);
    until_so("the second has what was left", || {
        world.nodes[1].open(&listeners[1], &mut second, ALL);
        assert!(first.len() + second.len() <= ALL, "{} and {}", first.len(), second.len());
        // A little more than it has is left to the first.
        second.len() >= ALL - 12
    });
    // The second's daemon is gone, and its share ends; its connections are there still.
    world.nodes[1].kill();
    until_so("its share ends", || places(&world.nodes[1]) == 0);
    until_so("it is silent", || {
        world.nodes[0].desk.json("fleet status")["nodes"]["n2"]["silent"] == true
    });
    world.nodes[0].open(&listeners[0], &mut first, ALL);
    assert!(first.len() + second.len() <= ALL, "places of a silent node were given away");
    // It is there again, and they have ended.
    second.clear();
    world.nodes[1].start();
    until_so("the first has what was left", || {
        world.nodes[0].open(&listeners[0], &mut first, ALL);
        assert!(first.len() <= ALL - STATED, "{}", first.len());
        first.len() == ALL - STATED
    });
}
